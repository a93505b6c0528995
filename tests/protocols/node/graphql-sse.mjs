import { createClient } from 'graphql-sse';
import { play } from './scenario.mjs';

const client = createClient({ url: process.argv[2], retryAttempts: 0 });

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
  close: () => client.dispose(),
});
