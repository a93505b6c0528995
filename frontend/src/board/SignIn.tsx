import { useEffect } from "react";

import type { Complaint } from "../errors";

export const SIGN_IN = "/login/?next=/";

/** All there is to see for somebody who must sign in first. */
export function SignIn({ complaint }: { complaint: Complaint }) {
  useEffect(() => {
    // Somebody who comes back to the page may have signed in in another tab.
    const lookAgain = () => document.hidden || location.reload();
    document.addEventListener("visibilitychange", lookAgain);
    return () => document.removeEventListener("visibilitychange", lookAgain);
  }, []);

  return (
    <section className="sign-in">
      <p>{complaint.sentence}</p>
      <a className="primary" href={SIGN_IN}>
        Sign in
      </a>
    </section>
  );
}
