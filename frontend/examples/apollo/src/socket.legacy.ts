import { WebSocketLink } from "@apollo/client/link/ws";
import { SubscriptionClient } from "subscriptions-transport-ws";

export const socketLink = new WebSocketLink(
  new SubscriptionClient(`${import.meta.env.VITE_API.replace("http", "ws")}/graphql/`, {
    reconnect: true,
  }),
);
