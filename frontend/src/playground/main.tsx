import "graphiql/setup-workers/vite";
import "graphiql/style.css";

import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createClient } from "graphql-ws";
import { createRoot } from "react-dom/client";

import { examples } from "./examples";
import "./playground.css";

const url = new URL("/graphql/", location.href);
const socketUrl = new URL(url);
socketUrl.protocol = url.protocol.replace("http", "ws");

const fetcher = createGraphiQLFetcher({
  url: url.href,
  wsClient: createClient({ url: socketUrl.href, retryAttempts: Infinity, shouldRetry: () => true }),
  enableIncrementalDelivery: false,
});

const isBoardOn = document.documentElement.dataset["pages"]?.includes("board");

createRoot(document.getElementById("root")!).render(
  <GraphiQL
    fetcher={fetcher}
    defaultTabs={examples}
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>
      {isBoardOn ? <a href="/">Live board</a> : <span>Playground</span>}
    </GraphiQL.Logo>
  </GraphiQL>,
);
