import { useEffect, useRef } from "react";

import type { OrderState } from "../operations";
import { stateWord } from "./words";

export function StateBadge({ state }: { state: OrderState | null }) {
  const badge = useRef<HTMLSpanElement>(null);
  const before = useRef(state);

  useEffect(() => {
    if (before.current === state) return;
    before.current = state;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    badge.current?.animate([{ transform: "scale(1.18)" }, { transform: "none" }], {
      duration: 400,
      easing: "ease-out",
    });
  }, [state]);

  return (
    <span className="badge" data-state={state} ref={badge}>
      {stateWord(state)}
    </span>
  );
}
