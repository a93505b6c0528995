import type { OperationVariables, TypedDocumentNode } from "@apollo/client";
import { useSubscription } from "@apollo/client/react";
import { useEffect, useState } from "react";

import { complaint, needsSignIn, type Complaint } from "../errors";

const RESTART_AFTER_MS = 3_000;

interface Live<Data> {
  /** The newest result. While other variables are on their way to the server, the one before. */
  data: Data | undefined;
  isLoading: boolean;
  complaint: Complaint | undefined;
}

/**
 * Subscribe for as long as the component is there; whatever ends the subscription, begin again,
 * unless it is that nobody is signed in: asking again would not change that.
 */
export function useLive<Data, Variables extends OperationVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Live<Data> {
  const [hasEnded, setHasEnded] = useState(false);
  const { data, error, loading, restart } = useSubscription<Data, OperationVariables>(document, {
    variables,
    fetchPolicy: "no-cache",
    onComplete: () => setHasEnded(true),
  });
  const [shown, setShown] = useState<Data>();
  if (data && data !== shown) setShown(data as Data);

  const trouble = error && complaint(error);
  const mustRestart = !needsSignIn(trouble) && (hasEnded || trouble !== undefined);
  useEffect(() => {
    if (!mustRestart) return;
    const timer = setTimeout(() => {
      setHasEnded(false);
      restart();
    }, RESTART_AFTER_MS);
    return () => clearTimeout(timer);
  }, [mustRestart, restart, error]);

  return { data: shown, isLoading: loading, complaint: trouble };
}
