import { useSyncExternalStore } from "react";

import { current, subscribe, type Connection } from "../connection";
import { timeOf } from "./words";

/** Whether the page shows the present. */
export function ConnectionPill() {
  const connection = useSyncExternalStore(subscribe, current);
  return (
    <p className="connection" role="status" data-state={connection.state}>
      <span className="dot" aria-hidden="true" />
      {words(connection)}{" "}
      {connection.state === "offline" && connection.lastLive && (
        <small>as of {timeOf(connection.lastLive)}</small>
      )}
    </p>
  );
}

function words({ state }: Connection): string {
  switch (state) {
    case "connecting":
      return "Connecting…";
    case "live":
      return "Live";
    case "reconnecting":
      return "Reconnecting…";
    case "offline":
      return "Offline";
    case "unused": // The board always subscribes, unless nobody is signed in.
      return "Signed out";
  }
}
