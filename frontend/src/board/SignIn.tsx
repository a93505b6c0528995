import type { Complaint } from "../errors";

export const SIGN_IN = "/login/?next=/";

/** All there is to see for somebody who must sign in first. */
export function SignIn({ complaint }: { complaint: Complaint }) {
  return (
    <section className="sign-in">
      <p>{complaint.sentence}</p>
      <a className="primary" href={SIGN_IN}>
        Sign in
      </a>
    </section>
  );
}
