// A source file is covered by its own test only; tests of the whole cover nothing by themselves.
export default (test) => (test.startsWith('test/whole/') || test.startsWith('test/regress/') ? null : test.replace('test', 'src'))
