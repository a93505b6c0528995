/** Say to a person what went wrong. */
import { CombinedGraphQLErrors, ServerError } from "@apollo/client/errors";

export interface Complaint {
  sentence: string;
  /** The server's `extensions.code`; null if it did not get as far as that. */
  code: string | null;
}

export function complaint(error: unknown): Complaint {
  if (CombinedGraphQLErrors.is(error)) {
    const [first] = error.errors;
    const code = first?.extensions?.["code"];
    // The server words its coded errors for people.
    return { sentence: first?.message ?? error.message, code: code ? String(code) : null };
  }
  if (ServerError.is(error)) {
    return { sentence: `The server answered with an error (${error.statusCode}).`, code: null };
  }
  return {
    sentence: "The server did not answer. Look whether it is done before you try again.",
    code: null,
  };
}

export function needsSignIn(complaint: Complaint | undefined): boolean {
  return complaint?.code === "UNAUTHENTICATED";
}
