import { useLayoutEffect, useRef, type RefObject } from "react";

const EASING = "cubic-bezier(.2, .7, .2, 1)";

/** Let the children of a list, told apart by `data-key`, glide to where they now belong. */
export function useMoves(list: RefObject<HTMLElement | null>, order: string): void {
  const tops = useRef(new Map<string, number>());

  useLayoutEffect(() => {
    const before = tops.current;
    tops.current = new Map();
    const isStill = before.size === 0 || matchMedia("(prefers-reduced-motion: reduce)").matches;
    for (const child of list.current?.children ?? []) {
      if (!(child instanceof HTMLElement) || !child.dataset["key"]) continue;
      const top = child.offsetTop;
      tops.current.set(child.dataset["key"], top);
      if (isStill) continue;
      const was = before.get(child.dataset["key"]);
      if (was === undefined) {
        child.animate(
          [{ opacity: 0, transform: "translateY(-0.75rem)" }, { opacity: 1, transform: "none" }],
          { duration: 360, easing: EASING },
        );
      } else if (was !== top) {
        child.animate([{ transform: `translateY(${was - top}px)` }, { transform: "none" }], {
          duration: 360,
          easing: EASING,
        });
      }
    }
  }, [list, order]);
}
