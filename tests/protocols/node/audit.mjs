// The audit of GraphQL over HTTP: prints what the server does not pass, errors and warnings alike.
import { auditServer } from 'graphql-http';

const results = await auditServer({ url: process.argv[2] });
const faults = results.filter(({ status }) => status !== 'ok');
for (const { id, name, status, reason } of faults) {
  console.log(JSON.stringify({ id, name, status, reason }));
}
console.log(JSON.stringify({ audits: results.length, faults: faults.length }));
