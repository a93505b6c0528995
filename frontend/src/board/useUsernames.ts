import { useState } from "react";

import type { Order } from "../operations";

/** Every username among the orders seen so far, in alphabetical order. */
export function useUsernames(orders: Order[] | undefined): string[] {
  const [usernames, setUsernames] = useState<string[]>([]);
  const seen = new Set(usernames);
  for (const order of orders ?? []) if (order.user?.username) seen.add(order.user.username);
  if (seen.size > usernames.length) setUsernames([...seen].sort());
  return usernames;
}
