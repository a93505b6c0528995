import type { Order, OrderState } from "../operations";

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

export function dayOf(order: Order): string {
  return order.date ? day.format(new Date(order.date)) : "no date";
}

export function ownerOf(order: Order): string {
  return order.user?.username ?? "nobody";
}

export function stateWord(state: OrderState | null): string {
  if (state === null) return "Unknown";
  return state === "PAID" ? "Paid" : "Unpaid";
}

export function timeOf(moment: Date): string {
  return time.format(moment);
}
