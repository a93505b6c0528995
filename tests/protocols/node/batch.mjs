// BatchHttpLink of Apollo Client 3 or 4, whose array of requests the server refuses.
import core3 from '@apollo/client/core/core.cjs';
import batch3 from '@apollo/client/link/batch-http/batch-http.cjs';
import * as core4 from 'apollo-client-4';
import * as batch4 from 'apollo-client-4/link/batch-http';
import { codes, tell } from './requests.mjs';

const [, , uri, version] = process.argv;
const { ApolloClient, InMemoryCache, gql } = version === '3' ? core3 : core4;
const { BatchHttpLink } = version === '3' ? batch3 : batch4;
const client = new ApolloClient({ link: new BatchHttpLink({ uri }), cache: new InMemoryCache() });

const queries = ['{ items { id } }', '{ items { state } }'].map((text) => gql(text));
for (const { reason } of await Promise.allSettled(queries.map((query) => client.query({ query })))) {
  tell('refused', reason && codes(reason).concat(bodyCodes(reason)));
}
client.stop();

// Version 4 leaves the body of an answer that is no success as it came.
function bodyCodes({ bodyText }) {
  return bodyText ? codes(JSON.parse(bodyText)) : [];
}
