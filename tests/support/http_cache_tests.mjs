// Runs the package http-cache-tests against BASE and prints {test id: true | [kind, message]} as JSON.
//
//     node tests/support/http_cache_tests.mjs BASE [ID …]
//
// The package's own command line runs 100 tests at once; most of them wait three seconds for something to become stale.

import fetch from 'node-fetch'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'
import suites from 'http-cache-tests/tests/index.mjs'

const [base, ...ids] = process.argv.slice(2)
const chosen = [...suites, surrogate].map(suite => ({
  ...suite,
  tests: suite.tests.filter(test => ids.length === 0 || ids.includes(test.id))
}))
await runTests(chosen, fetch, false, base, 400)
console.log(JSON.stringify(getResults()))
