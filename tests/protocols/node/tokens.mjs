// Follow the viewer's items with a token that the client gets anew for each connection:
// tokens.mjs CLIENT URL TOKEN_URL INIT, where fetch(TOKEN_URL, INIT) gives {token}. Tells of each
// result and each close; a line on stdin is the payload of a ping.
import { createInterface } from 'node:readline';
import { Client, subscriptionExchange } from '@urql/core';
import core from '@apollo/client/core/core.cjs';
import graphqlWsLink from '@apollo/client/link/subscriptions/subscriptions.cjs';
import * as core4 from 'apollo-client-4';
import { GraphQLWsLink } from 'apollo-client-4/link/subscriptions';
import { createClient } from 'graphql-ws';
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';

const [, , kind, url, tokenUrl, init] = process.argv;
const QUERY = 'subscription { items { owner { username } } }';
const tell = (what, value) => console.log(JSON.stringify({ [what]: value }));

class TellingWebSocket extends WebSocket {
  constructor(...rest) {
    super(...rest);
    this.addEventListener('close', ({ code, reason }) => tell('closed', [code, reason]));
  }
}

const connectionParams = async () => {
  const answer = await fetch(tokenUrl, JSON.parse(init));
  return { authorization: `Bearer ${(await answer.json()).token}` };
};

let socket;
const graphqlWs = () =>
  createClient({
    url,
    webSocketImpl: TellingWebSocket,
    connectionParams,
    retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
    on: { opened: (opened) => (socket = opened) },
  });

const next = ({ data }) =>
  tell(
    'next',
    data.items.map(({ owner }) => owner.username),
  );
const error = (problem) => tell('error', problem.message ?? problem);
const sink = { next, error, complete: () => tell('complete', true) };

function apollo({ ApolloClient, InMemoryCache, gql }, Link) {
  const client = new ApolloClient({ link: new Link(graphqlWs()), cache: new InMemoryCache() });
  client.subscribe({ query: gql(QUERY), fetchPolicy: 'no-cache' }).subscribe(sink);
}

const CLIENTS = {
  'graphql-ws': () => graphqlWs().subscribe({ query: QUERY }, sink),
  'apollo-3': () => apollo(core, graphqlWsLink.GraphQLWsLink),
  'apollo-4': () => apollo(core4, GraphQLWsLink),
  urql: () => {
    const transport = graphqlWs();
    const forwardSubscription = ({ query, variables }) => ({
      subscribe: (observer) => ({
        unsubscribe: transport.subscribe({ query, variables }, observer),
      }),
    });
    const client = new Client({
      url: url.replace('ws', 'http'),
      exchanges: [subscriptionExchange({ forwardSubscription })],
    });
    client.subscription(QUERY, {}).subscribe((result) => (result.error ? error : next)(result));
  },
  'subscriptions-transport-ws': () => {
    const options = { reconnect: true, connectionParams };
    new SubscriptionClient(url, options, TellingWebSocket).request({ query: QUERY }).subscribe(sink);
  },
};

createInterface({ input: process.stdin }).on('line', (line) =>
  socket.send(JSON.stringify({ type: 'ping', payload: JSON.parse(line) })),
);
CLIENTS[kind]();
