// Apollo Client 3 or 4 with PersistedQueryLink, over HTTP: `persisted-apollo.mjs URL 3|4 GET|POST`.
import core3 from '@apollo/client/core/core.cjs';
import http3 from '@apollo/client/link/http/http.cjs';
import persisted3 from '@apollo/client/link/persisted-queries/persisted-queries.cjs';
import * as core4 from 'apollo-client-4';
import * as http4 from 'apollo-client-4/link/http';
import * as persisted4 from 'apollo-client-4/link/persisted-queries';
import { createHash } from 'node:crypto';
import { codes, countedFetch, tell } from './requests.mjs';
import { withoutTypes } from './types.mjs';

const [, , uri, version, method] = process.argv;
const { ApolloClient, InMemoryCache, gql } = version === '3' ? core3 : core4;
const { HttpLink } = version === '3' ? http3 : http4;
const makeLink =
  version === '3'
    ? persisted3.createPersistedQueryLink
    : (options) => new persisted4.PersistedQueryLink(options);

const link = makeLink({
  sha256: (text) => createHash('sha256').update(text).digest('hex'),
  useGETForHashedQueries: method === 'GET',
}).concat(new HttpLink({ uri, fetch: countedFetch }));
const client = new ApolloClient({
  link,
  cache: new InMemoryCache(),
  defaultOptions: { query: { fetchPolicy: 'no-cache' } },
});

const ask = async (text, variables) => {
  try {
    const { data } = await client.query({ query: gql(text), variables });
    tell('asked', withoutTypes(data));
  } catch (error) {
    tell('refused', codes(error));
  }
};

await ask('query first($n: Int) { items(first: $n) { state } }', { n: 1 });
await ask('query first($n: Int) { items(first: $n) { state } }', { n: 2 });
await ask('{ nothing }');
const mutation = gql('mutation { createItem(owner: "valentine") { state } }');
tell('changed', withoutTypes((await client.mutate({ mutation })).data));
client.stop();
