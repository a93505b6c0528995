import { needsSignIn, type Complaint } from "../errors";
import { SIGN_IN } from "./SignIn";

/** What went wrong, where it went wrong, and the way on if there is one. */
export function Problem({ complaint, id }: { complaint: Complaint | undefined; id?: string }) {
  if (!complaint) return null;
  return (
    <p className="problem" role="alert" id={id}>
      {complaint.sentence}
      {needsSignIn(complaint) && (
        <>
          {" "}
          <a href={SIGN_IN}>Sign in</a>
        </>
      )}
    </p>
  );
}
