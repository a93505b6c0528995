// PostGraphile, with a topic for each user: after each notification one plan selects.
// Somebody is who the address says they are (?user=KEY): no session is looked up.
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { constant, context, lambda, listen } from "postgraphile/grafast";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { extendSchema, gql } from "postgraphile/utils";

const ordersOfUser = extendSchema((build) => {
  const { auth_user: users, orders_order: orders } = build.input.pgRegistry.pgResources;
  const newest = ($first) => {
    const $orders = orders.find({ user_id: context().get("userId") });
    $orders.orderBy({ attribute: "id", direction: "DESC" });
    $orders.setFirst($first);
    return $orders;
  };
  return {
    typeDefs: gql`
      extend type Query {
        getOrders(first: Int = 50): [OrdersOrder]
      }
      extend type Subscription {
        getOrder: OrdersOrder
      }
      extend type OrdersOrder {
        user: AuthUser
      }
    `,
    objects: {
      OrdersOrder: { plans: { user: ($order) => users.get({ id: $order.get("user_id") }) } },
      Query: { plans: { getOrders: (_, { $first }) => newest($first) } },
      Subscription: {
        plans: {
          getOrder: {
            subscribePlan: () =>
              listen(
                context().get("pgSubscriber"),
                lambda(context().get("userId"), (id) => `graphql:user:${id}`),
                ($event) => $event,
                constant("subscribed"),
              ),
            plan: () => newest(constant(1)).single(),
          },
        },
      },
    },
  };
});

const server = createServer();
const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [ordersOfUser],
  // The rest of the address comes from libpq's variables in the environment.
  pgServices: [
    makePgService({ connectionString: "postgres:///benchmark", schemas: ["public"], pubsub: true }),
  ],
  grafast: {
    context: ({ ws, node }) => {
      const { url } = ws?.request ?? node.req;
      return { userId: Number(new URL(url, "http://localhost").searchParams.get("user")) };
    },
  },
  grafserv: { websockets: true, graphqlPath: "/graphql/", graphiql: false },
});
await instance.createServ(grafserv).addTo(server);
server.listen(Number(process.argv[2]), "127.0.0.1");
