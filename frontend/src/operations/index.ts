/** What the board asks of the server. A test holds these documents against the schema. */
import { gql, type TypedDocumentNode } from "@apollo/client";

import create from "./create.graphql?raw";
import remove from "./delete.graphql?raw";
import newest from "./newest.graphql?raw";
import orders from "./orders.graphql?raw";
import setState from "./setState.graphql?raw";

export type OrderState = "PAID" | "UNPAID";

export interface Order {
  id: string;
  date: string | null;
  state: OrderState | null;
  user: { username: string | null } | null;
}

export const NEWEST: TypedDocumentNode<{ getOrder: Order | null }, Record<string, never>> =
  gql(newest);

export const ORDERS: TypedDocumentNode<
  { getOrders: (Order | null)[] | null },
  { first: number; state: OrderState | null }
> = gql(orders);

export const CREATE: TypedDocumentNode<
  { createOrder: { id: string } | null },
  { date: string | null; state: OrderState; username: string | null }
> = gql(create);

export const SET_STATE: TypedDocumentNode<
  { setOrderState: { id: string } | null },
  { id: string; state: OrderState }
> = gql(setState);

export const DELETE: TypedDocumentNode<{ deleteOrder: string | null }, { id: string }> =
  gql(remove);
