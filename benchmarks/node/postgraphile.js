// PostGraphile: each subscriber's plan selects the newest order after each notification.
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { constant, context, listen } from "postgraphile/grafast";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { extendSchema, gql } from "postgraphile/utils";

const newestOrder = extendSchema((build) => {
  const { auth_user: users, orders_order: orders } = build.input.pgRegistry.pgResources;
  return {
    typeDefs: gql`
      extend type Subscription {
        getOrder: OrdersOrder
      }
      extend type OrdersOrder {
        user: AuthUser
      }
    `,
    objects: {
      OrdersOrder: { plans: { user: ($order) => users.get({ id: $order.get("user_id") }) } },
      Subscription: {
        plans: {
          getOrder: {
            subscribePlan: () =>
              listen(
                context().get("pgSubscriber"),
                constant("order_changed"),
                ($event) => $event,
                constant("subscribed"),
              ),
            plan: () => {
              const $orders = orders.find();
              $orders.orderBy({ attribute: "id", direction: "DESC" });
              $orders.setFirst(constant(1));
              return $orders.single();
            },
          },
        },
      },
    },
  };
});

const server = createServer();
const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [newestOrder],
  // The rest of the address comes from libpq's variables in the environment.
  pgServices: [
    makePgService({ connectionString: "postgres:///benchmark", schemas: ["public"], pubsub: true }),
  ],
  grafserv: { websockets: true, graphqlPath: "/graphql/", graphiql: false },
});
await instance.createServ(grafserv).addTo(server);
server.listen(Number(process.argv[2]), "127.0.0.1");
