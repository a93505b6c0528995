import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { createClient } from "graphql-ws";

export const socketLink = new GraphQLWsLink(
  createClient({
    url: `${import.meta.env.VITE_API.replace("http", "ws")}/graphql/`,
    keepAlive: 10_000, // Find out that a connection is dead,
    retryAttempts: Infinity, // and come back whatever has happened:
    shouldRetry: () => true, // the current result arrives after each reconnect.
  }),
);
