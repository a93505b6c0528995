import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { getMainDefinition } from "@apollo/client/utilities";

const httpLink = new HttpLink({
  uri: `${import.meta.env.VITE_API}/graphql/`,
  credentials: "include", // Send the session's cookie to the other origin, too.
});

export const clientWith = (socketLink: ApolloLink) =>
  new ApolloClient({
    cache: new InMemoryCache(),
    link: ApolloLink.split(
      ({ query }) => {
        const definition = getMainDefinition(query);
        return definition.kind === "OperationDefinition" && definition.operation === "subscription";
      },
      socketLink,
      httpLink,
    ),
  });
