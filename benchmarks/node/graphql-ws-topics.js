// graphql-ws on ws, with a topic for each user: one query for each change.
// Somebody is who the address says they are (?user=KEY): no session is looked up.
import { on } from "node:events";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { buildSchema, graphql } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import pg from "pg";
import { WebSocketServer } from "ws";
import { emitter, ordersOf, typeDefs } from "./schema.js";

const pool = new pg.Pool();
const topics = emitter();

async function publishAlways() {
  const listener = new pg.Client();
  await listener.connect();
  await listener.query("LISTEN order_of_user");
  for await (const [{ payload: user }] of on(listener, "notification")) {
    const [order] = await ordersOf(pool, user, 1);
    topics.emit(user, order ?? null);
  }
}

const schema = buildSchema(typeDefs);
schema.getQueryType().getFields().getOrders.resolve = (_, { first }, { user }) =>
  ordersOf(pool, user, first);
schema.getSubscriptionType().getFields().getOrder.subscribe = async function* (_, __, { user }) {
  const changes = on(topics, user);
  const [newest] = await ordersOf(pool, user, 1);
  yield { getOrder: newest ?? null };
  for await (const [order] of changes) yield { getOrder: order };
};

const contextOf = (request) => ({
  user: new URL(request.url, "http://localhost").searchParams.get("user"),
});
const server = createServer(async (request, response) => {
  const { query: source, variables: variableValues } = await json(request);
  const contextValue = contextOf(request);
  const result = await graphql({ schema, source, variableValues, contextValue });
  response.setHeader("Content-Type", "application/json").end(JSON.stringify(result));
});
useServer(
  { schema, context: ({ extra }) => contextOf(extra.request) },
  new WebSocketServer({ server, path: "/graphql/" }),
);
publishAlways();
server.listen(Number(process.argv[2]), "127.0.0.1");
