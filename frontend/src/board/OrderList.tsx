import { useEffect, useRef, type FocusEvent } from "react";

import type { Order, OrderState } from "../operations";
import { OrderRow } from "./OrderRow";
import { StateFilter } from "./StateFilter";
import { useMoves } from "./useMoves";
import { stateWord } from "./words";

interface Props {
  /** Undefined until the server has answered. */
  orders: Order[] | undefined;
  isStale: boolean;
  state: OrderState | null;
  onState: (state: OrderState | null) => void;
}

export function OrderList({ orders, isStale, state, onState }: Props) {
  const list = useRef<HTMLUListElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const order = (orders ?? []).map(({ id }) => id).join(" ");
  useMoves(list, order);
  const onFocus = useFocusKeeper(order, heading);

  return (
    <>
      <div className="orders-head">
        <h2 id="orders" ref={heading} tabIndex={-1}>
          Orders
        </h2>
        <StateFilter state={state} onState={onState} />
      </div>
      <ul ref={list} aria-busy={isStale} aria-labelledby="orders" onFocus={onFocus}>
        {orders?.map((order) => (
          <OrderRow key={order.id} order={order} />
        ))}
      </ul>
      {orders?.length === 0 && (
        <p className="none">{state ? `No ${stateWord(state).toLowerCase()} orders.` : "No orders."}</p>
      )}
    </>
  );
}

/** When the row that had the focus goes, put the focus on the heading, not at the page's top. */
function useFocusKeeper(order: string, heading: { current: HTMLElement | null }) {
  const focused = useRef<Element>(null);
  useEffect(() => {
    if (!focused.current || focused.current.isConnected) return;
    focused.current = null;
    if (document.activeElement === document.body) heading.current?.focus();
  }, [order, heading]);

  return (event: FocusEvent) => {
    focused.current = event.target.closest("li");
  };
}
