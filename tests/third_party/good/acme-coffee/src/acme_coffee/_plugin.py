from mocha_core import hookimpl


@hookimpl
def mocha_register_coffee(coffee):
    coffee.add("ParameterNorms", "acme_coffee.parameter_norms:ParameterNorms")
