// Follow subscriptions for ever and come back after each close, as graphql-ws does by itself:
// follow.mjs URL DOCUMENTS, a list in JSON. Each line on stdin is the cookie from now on, in JSON;
// while it is empty, nobody connects.
import { createInterface } from 'node:readline';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [, , url, documents] = process.argv;
const tell = (told) => console.log(JSON.stringify(told));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let cookie = '';
createInterface({ input: process.stdin }).on('line', (line) => (cookie = JSON.parse(line)));

class SignedIn extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { headers: { cookie }, handshakeTimeout: 6000 });
    this.cookie = cookie;
  }
}

const signedIn = async () => {
  while (!cookie) await pause(50);
};

let socket;
const client = createClient({
  url,
  webSocketImpl: SignedIn,
  lazy: true,
  keepAlive: 2000,
  retryAttempts: Infinity,
  shouldRetry: () => true,
  retryWait: async (retries) => {
    await pause(Math.min(3000, 200 * 2 ** retries) * (0.5 + Math.random() / 2));
    await signedIn();
  },
  on: {
    opened: (opened) => (socket = opened),
    connected: (connected) => tell({ connected: connected.cookie }),
    closed: ({ code }) => tell({ closed: code ?? 0 }),
    ping: (received) => {
      if (received) return;
      clearTimeout(client.silence);
      client.silence = setTimeout(() => socket.terminate(), 4000);
    },
    pong: (received) => received && clearTimeout(client.silence),
  },
});

const follow = async (query, of) => {
  await signedIn();
  client.subscribe(
    { query },
    {
      next: (result) => tell({ next: result, of }),
      // Refused while the database is away, or after a right has ended.
      error: (error) => {
        if (Array.isArray(error)) tell({ error });
        pause(500).then(() => follow(query, of));
      },
      complete: () => pause(500).then(() => follow(query, of)),
    },
  );
};
JSON.parse(documents).forEach(follow);
