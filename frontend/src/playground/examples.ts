/** What the playground shows first. A test holds these documents against the schema. */
import getLastOrder from "./examples/1-getLastOrder.graphql?raw";
import getLastOrderWithUser from "./examples/2-getLastOrderWithUser.graphql?raw";
import orders from "./examples/3-orders.graphql?raw";
import createOrder from "./examples/4-createOrder.graphql?raw";
import liveOrders from "./examples/5-liveOrders.graphql?raw";

export const examples = [
  { query: getLastOrder },
  { query: getLastOrderWithUser },
  { query: orders },
  { query: createOrder, variables: JSON.stringify({ username: "ada" }, null, 2) },
  { query: liveOrders },
];
