import { useState } from "react";

import { needsSignIn } from "../errors";
import { NEWEST, ORDERS, type Order, type OrderState } from "../operations";
import { ConnectionPill } from "./ConnectionPill";
import { NewestOrder } from "./NewestOrder";
import { NewOrder } from "./NewOrder";
import { OrderList } from "./OrderList";
import { Problem } from "./Problem";
import { SignIn } from "./SignIn";
import { useLive } from "./useLive";
import { useUsernames } from "./useUsernames";

const FIRST = 50;
const MOST = 200;
const isPlaygroundOn = document.documentElement.dataset["pages"]?.includes("playground");

export function Board() {
  const [state, setState] = useState<OrderState | null>(null);
  const [first, setFirst] = useState(FIRST);
  const newest = useLive(NEWEST, {});
  const list = useLive(ORDERS, { first, state });

  const orders = list.data?.getOrders?.filter((order): order is Order => order !== null);
  const usernames = useUsernames(orders);
  const mustSignIn = needsSignIn(list.complaint);

  return (
    <>
      <header className="bar">
        <p className="brand">
          <span className="brand-mark" aria-hidden="true" />
          Live orders
        </p>
        <nav aria-label="Elsewhere">
          {isPlaygroundOn && <a href="/graphql/">Playground</a>}
          <a href="/admin/">Admin</a>
        </nav>
        <ConnectionPill />
      </header>
      <main>
        <h1 className="visually-hidden">Live orders</h1>
        {list.complaint && mustSignIn ? (
          <SignIn complaint={list.complaint} />
        ) : (
          <>
            <div className="aside">
              <NewestOrder order={newest.data?.getOrder} complaint={newest.complaint} />
              <NewOrder usernames={usernames} />
            </div>
            <section className="orders" aria-labelledby="orders">
              <OrderList orders={orders} isStale={list.isLoading} state={state} onState={setState} />
              <Problem complaint={list.complaint} />
              {orders && orders.length >= first && first < MOST && (
                <button className="more" type="button" onClick={() => setFirst(MOST)}>
                  Show up to {MOST}
                </button>
              )}
            </section>
          </>
        )}
      </main>
      {!mustSignIn && (
        <footer>
          <p>
            What you see is what the database holds. Change an order here, in a second window, in the
            admin or with plain SQL, and watch it move.
          </p>
        </footer>
      )}
    </>
  );
}
