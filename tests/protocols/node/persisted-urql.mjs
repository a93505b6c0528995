// urql's persistedExchange: queries over HTTP, by GET or POST, and a subscription over graphql-ws.
import { Client, fetchExchange, gql, subscriptionExchange } from '@urql/core';
import { persistedExchange } from '@urql/exchange-persisted';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { countedFetch, named, tell } from './requests.mjs';

const [, , url, webSocketUrl, method] = process.argv;
const transport = createClient({ url: webSocketUrl, webSocketImpl: WebSocket });
const client = new Client({
  url,
  fetch: countedFetch,
  preferGetMethod: false,
  requestPolicy: 'network-only',
  exchanges: [
    persistedExchange({
      preferGetForPersistedQueries: method === 'GET',
      enableForMutation: true,
      enableForSubscriptions: true,
    }),
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: (request) => ({
        subscribe: (sink) => {
          tell('subscribed', named(request));
          // graphql-ws insists on a text.
          const payload = { ...request, query: request.query ?? '' };
          return { unsubscribe: transport.subscribe(payload, sink) };
        },
      }),
    }),
  ],
});

const ask = async (text, variables) => {
  const { data, error } = await client.query(gql(text), variables).toPromise();
  if (error) tell('refused', error.graphQLErrors.map(({ extensions }) => extensions.code));
  else tell('asked', data);
};

await ask('query first($n: Int) { items(first: $n) { state } }', { n: 1 });
await ask('query first($n: Int) { items(first: $n) { state } }', { n: 2 });
await ask('{ nothing }', {});
const changed = await client
  .mutation(gql('mutation { createItem(owner: "valentine") { state } }'), {})
  .toPromise();
tell('changed', changed.data);
for (const from of [1, 2]) {
  const followed = gql('subscription countdown($from: Int!) { countdown(from: $from) }');
  await new Promise((resolve) => {
    const { unsubscribe } = client.subscription(followed, { from }).subscribe(({ data, error }) => {
      if (error) throw error;
      tell('next', data);
      unsubscribe();
      resolve();
    });
  });
}
await transport.dispose();
