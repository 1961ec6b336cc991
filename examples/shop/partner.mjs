// The same receiver for Node, with Express and the npm package `standardwebhooks`.
//
//     npm install express standardwebhooks
//     PARTNER_SECRET=whsec_… PORT=9100 node partner.mjs
import express from 'express'
import { Webhook } from 'standardwebhooks'

const { PARTNER_SECRET, PORT = '9100' } = process.env
if (!PARTNER_SECRET) {
  console.error('partner.mjs: set PARTNER_SECRET to the endpoint\'s secret, whsec_…')
  process.exit(1)
}
const webhook = new Webhook(PARTNER_SECRET)
const handled = new Set() // a real partner asks its database
let badLuck = 0 // how many events its database will refuse

const app = express()

// express.raw: the signature is over the bytes as they came, so they must not be parsed before they are verified.
app.post('/webhook', express.raw({ type: '*/*', limit: '2mb' }), (request, response) => {
  const id = request.get('webhook-id')
  let event
  try {
    event = webhook.verify(request.body, request.headers)
  } catch (error) {
    tell({ status: 401, refused: error.message })
    return response.sendStatus(401)
  }
  if (!handled.has(id)) { // an event may come twice: the second one changes nothing
    if (badLuck > 0) {
      badLuck -= 1
      tell({ status: 500, id, failed: 'the database cannot be reached' })
      return response.sendStatus(500)
    }
    handled.add(id)
  }
  tell({ status: 200, id, verified: true, event })
  return response.sendStatus(200)
})

const server = app.listen(Number(PORT), '127.0.0.1', error => {
  if (error) {
    console.error(`partner.mjs: cannot listen on 127.0.0.1:${PORT}: ${error.code}; set PORT to another one`)
    process.exit(1)
  }
  tell({ ready: `http://127.0.0.1:${PORT}/webhook` })
})

process.on('SIGUSR2', () => { badLuck += 2; tell({ bad_day: true }) }) // for the demo: the database refuses two events
process.on('SIGTERM', () => { server.close(); server.closeAllConnections() })

function tell(line) {
  console.log(JSON.stringify(line))
}
