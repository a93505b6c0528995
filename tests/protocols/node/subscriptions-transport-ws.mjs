import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';
import { play } from './scenario.mjs';

const client = new SubscriptionClient(process.argv[2], { reconnect: false }, WebSocket);

const follow = (query, { next, error, complete }, variables) => {
  const { unsubscribe } = client.request({ query, variables }).subscribe({
    next: (result) => (result.errors ? error(result.errors) : next(result.data)),
    error,
    complete,
  });
  return unsubscribe;
};

await play({
  follow,
  ask: (query, variables) =>
    new Promise((resolve, reject) => {
      follow(query, { next: resolve, error: reject, complete: () => {} }, variables);
    }),
  close: () =>
    new Promise((resolve) => {
      client.onDisconnected(resolve);
      client.close(true); // sends connection_terminate
    }),
});
