import type { OperationVariables, TypedDocumentNode } from "@apollo/client";
import { useMutation } from "@apollo/client/react";
import { useState } from "react";

import { complaint, type Complaint } from "../errors";

interface Act<Variables> {
  /** Run the mutation, one at a time; true if it was done. What went wrong is in `complaint`. */
  act: (variables: Variables) => Promise<boolean>;
  isActing: boolean;
  complaint: Complaint | undefined;
}

export function useAct<Data, Variables extends OperationVariables>(
  document: TypedDocumentNode<Data, Variables>,
  explain?: (complaint: Complaint, variables: Variables) => Complaint,
): Act<Variables> {
  const [mutate, { loading }] = useMutation<Data, OperationVariables>(document);
  const [trouble, setTrouble] = useState<Complaint>();

  async function act(variables: Variables): Promise<boolean> {
    if (loading) return false;
    setTrouble(undefined);
    try {
      await mutate({ variables });
      return true;
    } catch (error) {
      const trouble = complaint(error);
      setTrouble(explain?.(trouble, variables) ?? trouble);
      return false;
    }
  }
  return { act, isActing: loading, complaint: trouble };
}
