/** Apollo Client: subscriptions over the WebSocket, everything else over HTTP. */
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { getMainDefinition } from "@apollo/client/utilities";

import { client as socket } from "./connection";

export const apollo = new ApolloClient({
  link: ApolloLink.split(
    ({ query }) => {
      const definition = getMainDefinition(query);
      return definition.kind === "OperationDefinition" && definition.operation === "subscription";
    },
    new GraphQLWsLink(socket),
    new HttpLink({ uri: "/graphql/" }),
  ),
  cache: new InMemoryCache(),
  // What the board shows comes from its subscriptions, so from the database, and from nowhere else.
  defaultOptions: { mutate: { fetchPolicy: "no-cache" } },
});
