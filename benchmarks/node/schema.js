// What the Node servers have in common: the schema, and the newest order after each change.
import { EventEmitter } from "node:events";
import { GraphQLScalarType } from "graphql";
import pg from "pg";

// Dates as they are written, not as moments in a time zone.
pg.types.setTypeParser(pg.types.builtins.DATE, (text) => text);

export const typeDefs = `
  scalar Date
  enum OrderState { PAID UNPAID }
  type User { username: String email: String }
  type Order { id: ID! date: Date state: OrderState user: User }
  type Query { getOrders(first: Int = 50): [Order] }
  type Subscription { getOrder: Order }
`;

export const DateScalar = new GraphQLScalarType({ name: "Date" });

const ORDERS =
  "SELECT o.id, o.date, o.state, u.username, u.email FROM orders_order o " +
  "JOIN auth_user u ON u.id = o.user_id";

const nested = ({ username, email, ...order }) => ({ ...order, user: { username, email } });

export async function newestOrder(pool) {
  const { rows } = await pool.query(`${ORDERS} ORDER BY o.id DESC LIMIT 1`);
  return rows.length === 0 ? null : nested(rows[0]);
}

// A user's newest orders.
export async function ordersOf(pool, user, first) {
  const query = `${ORDERS} WHERE o.user_id = $1 ORDER BY o.id DESC LIMIT $2`;
  const { rows } = await pool.query(query, [user, first]);
  return rows.map(nested);
}

// Calls `publish` with the newest order at once, and after each change. Changes that come while
// the order is being read are answered by one more reading.
export async function followNewest(publish) {
  const pool = new pg.Pool();
  let isReading = false;
  let isDirty = false;
  async function read() {
    isDirty = true;
    if (isReading) return;
    isReading = true;
    while (isDirty) {
      isDirty = false;
      publish(await newestOrder(pool));
    }
    isReading = false;
  }
  const listener = new pg.Client();
  await listener.connect();
  listener.on("notification", read);
  await listener.query("LISTEN order_changed");
  await read();
  return pool;
}

export function emitter() {
  return new EventEmitter().setMaxListeners(0);
}
