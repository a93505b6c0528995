import "graphiql/setup-workers/vite";
import "graphiql/style.css";

import { useMonaco } from "@graphiql/react";
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createClient } from "graphql-ws";
import { useEffect } from "react";
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

/** GraphiQL, once its editor is loaded: tabs clicked before would keep the first one's operation. */
function Playground() {
  const { monaco, actions } = useMonaco();
  useEffect(() => void actions.initialize(), [actions]);
  if (!monaco) return <p className="loading" role="status">Loading the playground…</p>;
  return (
    <GraphiQL fetcher={fetcher} defaultTabs={examples} shouldPersistHeaders={false}>
      <GraphiQL.Logo>
        {isBoardOn ? <a href="/">Live board</a> : <span>Playground</span>}
      </GraphiQL.Logo>
    </GraphiQL>
  );
}

createRoot(document.getElementById("root")!).render(<Playground />);
