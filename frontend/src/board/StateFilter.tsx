import type { OrderState } from "../operations";

const CHOICES: [string, OrderState | null][] = [
  ["All", null],
  ["Unpaid", "UNPAID"],
  ["Paid", "PAID"],
];

interface Props {
  state: OrderState | null;
  onState: (state: OrderState | null) => void;
}

export function StateFilter({ state, onState }: Props) {
  return (
    <fieldset className="filter">
      <legend className="visually-hidden">Show orders by state</legend>
      {CHOICES.map(([word, choice]) => (
        <label key={word}>
          <input
            type="radio"
            name="state"
            checked={state === choice}
            onChange={() => onState(choice)}
          />
          <span>{word}</span>
        </label>
      ))}
    </fieldset>
  );
}
