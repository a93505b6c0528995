/** One WebSocket to the server, kept for as long as the page is open, and what is known of it. */
import { createClient } from "graphql-ws";

export type ConnectionState = "connecting" | "live" | "reconnecting" | "offline" | "unused";

export interface Connection {
  state: ConnectionState;
  /** When the page last was live; null if it never was. */
  lastLive: Date | null;
}

const PING_EVERY_MS = 10_000;
const ANSWER_WITHIN_MS = 5_000;
const LONGEST_WAIT_MS = 5_000;
const OFFLINE_AFTER_MS = 12_000;

const address = new URL("/graphql/", location.href);
address.protocol = address.protocol.replace("http", "ws");

let connection: Connection = { state: "connecting", lastLive: null };
let lostAt: number | undefined;
let deadline: number | undefined;
const listeners = new Set<() => void>();

export const client = createClient({
  url: address.href,
  lazyCloseTimeout: 1_000,
  keepAlive: PING_EVERY_MS,
  retryAttempts: Infinity,
  shouldRetry: () => true,
  retryWait: (retries) => pause(Math.min(250 * 2 ** retries, LONGEST_WAIT_MS)),
  on: {
    connecting: () => expectAnswer(),
    connected: () => {
      clearTimeout(deadline);
      lostAt = undefined;
      become("live");
    },
    ping: (received) => received || expectAnswer(),
    pong: (received) => received && clearTimeout(deadline),
    closed: (event) => {
      clearTimeout(deadline);
      if (isOurs(event)) become("unused");
      else lose();
    },
  },
});

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function current(): Connection {
  return connection;
}

function become(state: ConnectionState): void {
  if (state === connection.state) return;
  const lastLive = connection.state === "live" ? new Date() : connection.lastLive;
  connection = { state, lastLive };
  for (const listener of listeners) listener();
}

/** Whether the client closed the WebSocket itself, as no subscription was left. */
function isOurs(event: unknown): boolean {
  return event instanceof CloseEvent && event.code === 1000;
}

function lose(): void {
  lostAt ??= Date.now();
  const isOffline = !navigator.onLine || Date.now() - lostAt > OFFLINE_AFTER_MS;
  become(isOffline ? "offline" : "reconnecting");
}

/** A server that has vanished closes nothing: give it up when it stays silent. */
function expectAnswer(): void {
  clearTimeout(deadline);
  deadline = setTimeout(() => client.terminate(), ANSWER_WITHIN_MS);
}

/** Wait about so long, less if the network comes back or somebody looks at the page again. */
function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      removeEventListener("online", finish);
      document.removeEventListener("visibilitychange", finish);
      resolve();
    };
    // A crowd that lost the same server should not come back in the same moment.
    const timer = setTimeout(finish, milliseconds * (0.5 + Math.random()));
    addEventListener("online", finish);
    document.addEventListener("visibilitychange", finish);
  });
}

addEventListener("offline", () => {
  if (connection.state !== "live") lose();
});
