import { gql } from "@apollo/client";
import { useMutation, useSubscription } from "@apollo/client/react";

const GET_LAST_ORDER = gql`
  subscription getLastOrder {
    getOrder {
      id
      state
      date
    }
  }
`;

const PAY = gql`
  mutation pay($id: ID!) {
    setOrderState(id: $id, state: PAID) {
      id
    }
  }
`;

interface LastOrder {
  getOrder: { id: string; state: string; date: string } | null;
}

export function App() {
  const { data, error } = useSubscription<LastOrder>(GET_LAST_ORDER);
  const [pay, payment] = useMutation(PAY);
  const order = data?.getOrder;

  return (
    <main>
      {order && `Order ${order.id} of ${order.date} is ${order.state}.`}
      {order && <button onClick={() => pay({ variables: { id: order.id } })}>Pay</button>}
      {error && <p role="alert">No subscription: {error.message}</p>}
      {payment.error && <p role="alert">Not paid: {payment.error.message}</p>}
    </main>
  );
}
