// Relay, whose documents were persisted by its compiler: only their ids are sent, as `doc_id`.
import { createRequire } from 'node:module';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { codes, countedFetch, tell } from './requests.mjs';

const require = createRequire(import.meta.url);
const { Environment, Network, Observable, RecordSource, Store, fetchQuery, requestSubscription } =
  require('relay-runtime');

const [, , url, webSocketUrl, queryId, subscriptionId, unknownId] = process.argv;
const transport = createClient({ url: webSocketUrl, webSocketImpl: WebSocket });

const fetchFunction = async ({ id }, variables) => {
  const answer = await countedFetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ doc_id: id, variables }),
  });
  const result = await answer.json();
  if (result.errors) throw Object.assign(new Error('refused'), { errors: result.errors });
  return result;
};
// graphql-ws insists on a text.
const subscribeFunction = ({ id }, variables) =>
  Observable.create((sink) => transport.subscribe({ doc_id: id, query: '', variables }, sink));

const environment = new Environment({
  network: Network.create(fetchFunction, subscribeFunction),
  store: new Store(new RecordSource()),
});

// What the compiler makes of a document with one field at its root.
const artifact = (operationKind, type, id, field, plural) => {
  const state = { alias: null, args: null, kind: 'ScalarField', name: 'state', storageKey: null };
  const key = { ...state, name: 'id' };
  const args = null;
  const root = { alias: null, args, concreteType: 'Item', kind: 'LinkedField', name: field, plural };
  const selections = [{ ...root, selections: [key, state], storageKey: null }];
  const common = { argumentDefinitions: [], name: field, selections };
  return {
    fragment: { ...common, abstractKey: null, kind: 'Fragment', metadata: null, type },
    kind: 'Request',
    operation: { ...common, kind: 'Operation' },
    params: { id, metadata: {}, name: field, operationKind, text: null },
  };
};

const ask = (id) =>
  fetchQuery(environment, artifact('query', 'Query', id, 'items', true), {})
    .toPromise()
    .then(
      ({ items }) => tell('asked', items.map(({ state }) => state)),
      (error) => tell('refused', codes(error)),
    );

await ask(queryId);
await ask(unknownId);
await new Promise((resolve, reject) => {
  const subscription = artifact('subscription', 'Subscription', subscriptionId, 'item', false);
  const { dispose } = requestSubscription(environment, {
    subscription,
    variables: {},
    onNext: ({ item }) => {
      tell('next', item.state);
      dispose();
      resolve();
    },
    onError: reject,
  });
});
await transport.dispose();
