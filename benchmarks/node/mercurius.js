// Mercurius on Fastify: one query for each change, and each subscriber executes.
import Fastify from "fastify";
import mercurius from "mercurius";
import { DateScalar, followNewest, typeDefs } from "./schema.js";

let newest = null;
const server = Fastify();
await server.register(mercurius, {
  path: "/graphql/",
  schema: typeDefs,
  resolvers: {
    Date: DateScalar,
    Subscription: {
      getOrder: {
        subscribe: async function* (_, __, { pubsub }) {
          const changes = await pubsub.subscribe("order");
          yield { getOrder: newest };
          yield* changes;
        },
      },
    },
  },
  subscription: true,
});
await server.ready();
await followNewest((order) => {
  newest = order;
  server.graphql.pubsub.publish({ topic: "order", payload: { getOrder: order } });
});
await server.listen({ port: Number(process.argv[2]), host: "127.0.0.1" });
