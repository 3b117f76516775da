import t from 'tap'
import { Table } from '../src/table.ts'

t.test('what is put in is there until it is taken away', async (t) => {
  const table = new Table<number, string>(Number)
  table.set(2, 'two')
  table.set(1, 'one')
  table.set(2, 'zwei')
  t.equal(table.size, 2)
  t.equal(table.get(2), 'zwei')
  t.equal(table.has(3), false)
  t.same(
    [...table],
    [
      [1, 'one'],
      [2, 'zwei'],
    ],
  )
  t.same(table.keys(), [1, 2])
  t.same(table.values(), ['one', 'zwei'])
  const met: unknown[] = []
  table.forEach((value, key) => met.push([key, value]))
  t.same(met, [...table])
  t.equal(table.delete(1), 'one')
  t.equal(table.delete(1), undefined)
  t.equal(table.size, 1)
  table.clear()
  t.equal(table.size, 0)
  t.same([...table], [])
})

t.test('texts are keys too, whatever they mean to an object', async (t) => {
  const table = new Table<string, number>(String)
  for (const [index, key] of ['b', 'a', '__proto__', 'constructor'].entries()) table.set(key, index)
  t.same(table.keys(), ['b', 'a', '__proto__', 'constructor'])
  t.equal(table.delete('__proto__'), 2)
  t.equal(table.get('toString'), undefined)
})

t.test('what is taken away while all are looked at is not met', async (t) => {
  const table = new Table<number, string>(Number)
  for (const key of [1, 2, 3]) table.set(key, `value ${key}`)
  const met: number[] = []
  for (const [key] of table) {
    met.push(key)
    table.delete(2)
    table.set(4, 'too late')
  }
  t.same(met, [1, 3])
})
