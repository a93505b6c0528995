// Apollo Client with the link named on the command line: `legacy` is the article's WebSocketLink.
import core from '@apollo/client/core/core.cjs';
import graphqlWsLink from '@apollo/client/link/subscriptions/subscriptions.cjs';
import legacyLink from '@apollo/client/link/ws/ws.cjs';
import { createClient } from 'graphql-ws';
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';
import { play } from './scenario.mjs';
import { withoutTypes } from './types.mjs';

const { ApolloClient, InMemoryCache, gql } = core;
const [, , url, kind] = process.argv;

const transport =
  kind === 'legacy'
    ? new SubscriptionClient(url, { reconnect: false }, WebSocket)
    : createClient({ url, webSocketImpl: WebSocket });
const link =
  kind === 'legacy'
    ? new legacyLink.WebSocketLink(transport)
    : new graphqlWsLink.GraphQLWsLink(transport);
const client = new ApolloClient({
  link,
  cache: new InMemoryCache(),
  defaultOptions: { query: { fetchPolicy: 'no-cache' } },
});

await play({
  ask: async (query, variables) => {
    const operation = gql(query);
    const isMutation = query.startsWith('mutation');
    const { data } = isMutation
      ? await client.mutate({ mutation: operation, variables })
      : await client.query({ query: operation, variables });
    return withoutTypes(data);
  },
  follow: (query, { next, error, complete }) => {
    const subscription = client.subscribe({ query: gql(query) }).subscribe({
      next: ({ data }) => next(withoutTypes(data)),
      error,
      complete,
    });
    return () => subscription.unsubscribe();
  },
  close: () => {
    client.stop();
    return kind === 'legacy' ? transport.close(true) : transport.dispose();
  },
});
