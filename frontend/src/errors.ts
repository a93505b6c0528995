/** Say to a person what went wrong. */
import { CombinedGraphQLErrors, ServerError } from "@apollo/client/errors";

export interface Complaint {
  sentence: string;
  needsSignIn: boolean;
}

export function complaint(error: unknown): Complaint {
  const sentence = sentenceFor(error);
  return { sentence, needsSignIn: codeOf(error) === "UNAUTHENTICATED" };
}

function codeOf(error: unknown): string | undefined {
  if (CombinedGraphQLErrors.is(error)) return String(error.errors[0]?.extensions?.["code"]);
  return undefined;
}

function sentenceFor(error: unknown): string {
  switch (codeOf(error)) {
    case "UNAUTHENTICATED":
      return "You need to sign in for this.";
    case "FORBIDDEN":
      return "You may not do this with the account you are signed in with.";
    case "NOT_FOUND":
      return "This order does not exist any more.";
  }
  if (CombinedGraphQLErrors.is(error)) return error.errors[0]?.message ?? error.message;
  if (ServerError.is(error)) return `The server answered with an error (${error.statusCode}).`;
  return "The server did not answer. Look whether it has been done before you try again.";
}
