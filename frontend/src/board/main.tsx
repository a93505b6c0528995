import { ApolloProvider } from "@apollo/client/react";
import { createRoot } from "react-dom/client";

import { apollo } from "../client";
import { Board } from "./Board";
import "./board.css";

createRoot(document.getElementById("root")!).render(
  <ApolloProvider client={apollo}>
    <Board />
  </ApolloProvider>,
);
