import type { Complaint } from "../errors";

/** What went wrong, where it went wrong, and the way on if there is one. */
export function Problem({ complaint, id }: { complaint: Complaint | undefined; id?: string }) {
  if (!complaint) return null;
  return (
    <p className="problem" role="alert" id={id}>
      {complaint.sentence}
      {complaint.needsSignIn && (
        <>
          {" "}
          <a href="/admin/login/?next=/">Sign in</a>
        </>
      )}
    </p>
  );
}
