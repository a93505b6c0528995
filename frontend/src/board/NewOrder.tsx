import { useState, type FormEvent } from "react";

import type { Complaint } from "../errors";
import { CREATE } from "../operations";
import { Problem } from "./Problem";
import { useAct } from "./useAct";

export function NewOrder({ usernames }: { usernames: string[] }) {
  const [username, setUsername] = useState("");
  const [date, setDate] = useState("");
  const [isPaid, setIsPaid] = useState(false);
  const { act, isActing, complaint } = useAct(CREATE, explain);

  function submit(event: FormEvent) {
    event.preventDefault();
    void act({
      username: username.trim() || null,
      date: date || null,
      state: isPaid ? "PAID" : "UNPAID",
    });
  }

  return (
    <form className="new" onSubmit={submit} aria-labelledby="new">
      <h2 id="new">New order</h2>
      <label>
        <span>For</span>
        <input
          type="text"
          name="username"
          list="usernames"
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          placeholder="you, if you are signed in"
          value={username}
          onChange={(event) => setUsername(event.target.value)}
          aria-describedby={complaint && "new-problem"}
        />
      </label>
      <datalist id="usernames">
        {usernames.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <label>
        <span>Date, if not today</span>
        <input
          type="date"
          name="date"
          value={date}
          onChange={(event) => setDate(event.target.value)}
        />
      </label>
      <label className="check">
        <input
          type="checkbox"
          name="paid"
          checked={isPaid}
          onChange={(event) => setIsPaid(event.target.checked)}
        />
        <span>Paid</span>
      </label>
      <button className="primary" type="submit" aria-disabled={isActing}>
        Create order
      </button>
      <Problem complaint={complaint} id="new-problem" />
    </form>
  );
}

/** Nobody is signed in, and the order is for nobody else. */
function explain(complaint: Complaint, { username }: { username: string | null }): Complaint {
  if (complaint.code !== "BAD_USER_INPUT" || username !== null) return complaint;
  return { sentence: "Say whose order it is. Is it yours?", code: "UNAUTHENTICATED" };
}
