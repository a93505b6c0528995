import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { play } from './scenario.mjs';

const client = createClient({
  url: process.argv[2],
  webSocketImpl: WebSocket,
  lazy: false,
  keepAlive: 50, // pings often, and closes if no pong comes
  onNonLazyError: (error) => console.error(error),
});
const closed = new Promise((resolve) => client.on('closed', resolve));

const follow = (query, { next, error, complete }, variables) =>
  client.subscribe(
    { query, variables },
    {
      next: (result) => (result.errors ? error(result.errors) : next(result.data)),
      error,
      complete,
    },
  );

await play({
  follow,
  ask: (query, variables) =>
    new Promise((resolve, reject) => {
      follow(query, { next: resolve, error: reject, complete: () => {} }, variables);
    }),
  close: async () => {
    await client.dispose();
    const { code } = await closed;
    if (code !== 1000) throw new Error(`closed with ${code}`);
  },
});
