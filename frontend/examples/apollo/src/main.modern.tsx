import { ApolloProvider } from "@apollo/client/react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import { clientWith } from "./client";
import { socketLink } from "./socket.modern";

createRoot(document.getElementById("root")!).render(
  <ApolloProvider client={clientWith(socketLink)}>
    <App />
  </ApolloProvider>,
);
