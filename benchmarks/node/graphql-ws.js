// graphql-ws on ws: one query for each change, and each subscriber executes.
import { on } from "node:events";
import { createServer } from "node:http";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { emitter, followNewest, typeDefs } from "./schema.js";

const orders = emitter();
let newest = null;
await followNewest((order) => {
  newest = order;
  orders.emit("order", order);
});

const schema = buildSchema(typeDefs);
schema.getSubscriptionType().getFields().getOrder.subscribe = async function* () {
  const changes = on(orders, "order");
  yield { getOrder: newest };
  for await (const [order] of changes) yield { getOrder: order };
};

const server = createServer();
useServer({ schema }, new WebSocketServer({ server, path: "/graphql/" }));
server.listen(Number(process.argv[2]), "127.0.0.1");
