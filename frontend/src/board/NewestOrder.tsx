import { useEffect, useState } from "react";

import type { Complaint } from "../errors";
import type { Order } from "../operations";
import { Problem } from "./Problem";
import { StateBadge } from "./StateBadge";
import { dayOf, ownerOf, stateWord } from "./words";

const SETTLED_AFTER_MS = 1_000;

interface Props {
  /** Undefined until the server has answered, null if there is no order. */
  order: Order | null | undefined;
  complaint: Complaint | undefined;
}

export function NewestOrder({ order, complaint }: Props) {
  return (
    <section className="newest" aria-labelledby="newest" data-loading={order === undefined}>
      <h2 id="newest">Newest order</h2>
      {order && (
        // A new key lets the number arrive anew.
        <div className="newest-order" key={order.id}>
          <p className="number">
            <span aria-hidden="true">#</span>
            {order.id}
          </p>
          <p className="owner">{ownerOf(order)}</p>
          <p className="facts">
            <StateBadge state={order.state} />
            <time dateTime={order.date ?? undefined}>{dayOf(order)}</time>
          </p>
        </div>
      )}
      {order === null && <p className="none">No order yet. Create the first one below.</p>}
      <Problem complaint={complaint} />
      <p className="visually-hidden" role="status">
        {useAnnouncement(order)}
      </p>
    </section>
  );
}

/** One sentence for listeners when the newest order has changed, and only once it has settled. */
function useAnnouncement(order: Order | null | undefined): string {
  const [spoken, setSpoken] = useState("");
  const sentence = order
    ? `Newest order: ${order.id} for ${ownerOf(order)}, ${stateWord(order.state)}.`
    : "";
  useEffect(() => {
    const timer = setTimeout(() => setSpoken(sentence), SETTLED_AFTER_MS);
    return () => clearTimeout(timer);
  }, [sentence]);
  return spoken;
}
