import { useEffect, useRef, useState } from "react";

import { DELETE, SET_STATE, type Order } from "../operations";
import { Problem } from "./Problem";
import { StateBadge } from "./StateBadge";
import { useAct } from "./useAct";
import { dayOf, ownerOf } from "./words";

export function OrderRow({ order }: { order: Order }) {
  const [isAsking, setIsAsking] = useState(false);
  const setState = useAct(SET_STATE);
  const remove = useAct(DELETE);
  const row = useRef<HTMLLIElement>(null);
  const next = order.state === "PAID" ? "UNPAID" : "PAID";

  const wasAsking = useRef(false);
  useEffect(() => {
    if (isAsking !== wasAsking.current) {
      row.current?.querySelector<HTMLElement>(isAsking ? ".danger" : ".ask")?.focus();
    }
    wasAsking.current = isAsking;
  }, [isAsking]);

  async function confirm() {
    if (!(await remove.act({ id: order.id }))) setIsAsking(false);
  }

  return (
    <li
      data-key={order.id}
      ref={row}
      onKeyDown={(event) => event.key === "Escape" && setIsAsking(false)}
    >
      <span className="row-number">#{order.id}</span>
      <span className="row-owner">{ownerOf(order)}</span>
      <time className="row-date" dateTime={order.date ?? undefined}>
        {dayOf(order)}
      </time>
      <StateBadge state={order.state} />
      {isAsking ? (
        <span className="actions" role="group" aria-label={`Delete order ${order.id}?`}>
          <button
            type="button"
            className="danger"
            aria-disabled={remove.isActing}
            onClick={() => void confirm()}
          >
            Delete #{order.id}
          </button>
          <button type="button" onClick={() => setIsAsking(false)}>
            Keep
          </button>
        </span>
      ) : (
        <span className="actions">
          <button
            type="button"
            aria-label={`Mark ${next.toLowerCase()}: order ${order.id}`}
            aria-disabled={setState.isActing}
            onClick={() => void setState.act({ id: order.id, state: next })}
          >
            Mark {next.toLowerCase()}
          </button>
          <button
            type="button"
            className="ask"
            aria-label={`Delete: order ${order.id}`}
            onClick={() => setIsAsking(true)}
          >
            Delete
          </button>
        </span>
      )}
      <Problem complaint={setState.complaint ?? remove.complaint} />
    </li>
  );
}
